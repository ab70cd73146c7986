"""The HTTP API: the endpoints of the OCI distribution specification, and the relay's own."""
