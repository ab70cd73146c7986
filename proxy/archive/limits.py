"""The numbers of the format, in bytes.

Readers elsewhere rely on them: a larger value needs a new format version.
"""

from proxy.oci.manifest import LIMIT

PIECE = 2 * 1024 * 1024  # plain bytes; memory is planned in pieces, and a small range costs two of them at most
STORED = (
    PIECE + PIECE // 256 + 64
)  # of one piece; what zstd may need for content that does not shrink, and a little more
BLOCK = 128 * 1024  # the largest block of zstd, and the window of a raw frame
WINDOW = 8 * 1024 * 1024  # what every decoder must accept (RFC 8878, 3.1.1.1.2)
MANIFEST = LIMIT  # plain bytes of what has a media type: a reader takes it into memory as a whole
SMALL = 256 * 1024  # plain bytes; blobs up to this size are written behind the large ones
TAIL = 256 * 1024  # read first; holds all metadata of an ordinary image
NEAR = 4 * 1024 * 1024  # stored bytes of small members that are counted as metadata, at most
INDEX = 64 * 1024 * 1024  # the JSON of an index
VALUES = 2 * 1024 * 1024  # values in that JSON; enough for a blob of 1.25 TiB
OBJECTS = 100_000  # in that JSON; one for each blob
METADATA = 32 * 1024 * 1024  # small members and footer, as one read
FILE = 2**63 - 1  # what a file offset can be
