"""image-relay: a registry on localhost that keeps each pushed image as one loadable, indexed tarball.

Start reading at `proxy.app.assemble`, then `proxy.api.routes`.
"""
