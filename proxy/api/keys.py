"""What a request carries from one handler or middleware to the next, under typed keys."""

from aiohttp import web

from proxy.oci.names import Name

BEGAN = web.RequestKey("began", float)  # when it came, by the clock of the loop
MESSAGE = web.RequestKey("message", str)  # what a failure said to the client
REPOSITORY = web.RequestKey("repository", Name)  # of the path, in the registry of `?ns=`
STRANGER = web.RequestKey("stranger", bool)  # it has not the password that there is
UNANSWERED = web.RequestKey("unanswered", bool)  # the answer broke off, or reached nobody
