"""HTTP: who may ask, what was asked, and how the answer looks. What it means is decided in `proxy.registry`."""
