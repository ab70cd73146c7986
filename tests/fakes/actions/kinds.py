"""What a request is, in one word: the names under which requests are counted and faults are planned."""

from fnmatch import fnmatchcase

CREATE = "CreateArtifact"
FINALIZE = "FinalizeArtifact"
LIST = "ListArtifacts"
SIGN = "GetSignedArtifactURL"
DELETE = "DeleteArtifact"
RESULTS = (CREATE, FINALIZE, LIST, SIGN, DELETE)

PUT_BLOCK = "put_block"
COPY_BLOCK = "copy_block"  # Put Block From URL
PUT_BLOCK_LIST = "put_block_list"
PUT_BLOB = "put_blob"  # one request without blocks: works on Azure, stores nothing elsewhere
GET_RANGE = "get_range"
GET_WHOLE = "get_whole"
HEAD_BLOB = "head_blob"
OTHER_BLOB = "other_blob"
READS = (GET_RANGE, GET_WHOLE)
UPLOADS = (PUT_BLOCK, PUT_BLOCK_LIST, PUT_BLOB)
BLOBS = (*UPLOADS, COPY_BLOCK, *READS, HEAD_BLOB, OTHER_BLOB)

REST_RUN = "rest_run"
REST_RUNS = "rest_runs"
REST_RUN_ARTIFACTS = "rest_run_artifacts"
REST_ARTIFACTS = "rest_artifacts"
REST_ARTIFACT = "rest_artifact"
REST_ZIP = "rest_zip"
REST_DELETE = "rest_delete"
REST = (REST_RUN, REST_RUNS, REST_RUN_ARTIFACTS, REST_ARTIFACTS, REST_ARTIFACT, REST_ZIP, REST_DELETE)

UNKNOWN = "unknown"  # no route takes it; counted, never disturbed
ALL = (*RESULTS, *BLOBS, *REST)


def matching(pattern: str) -> tuple[str, ...]:
    """Return the kinds that a shell pattern names, such as `put_*` or `*`; a pattern that names none is a slip."""
    found = tuple(kind for kind in ALL if fnmatchcase(kind, pattern))
    if not found:
        raise ValueError(f"{pattern!r} names no kind of request; there are {', '.join(ALL)}")
    return found


def of_blob_request(method: str, comp: str | None, ranged: bool, copied: bool) -> str:
    """Name a request to blob storage by what the Azure protocol says of it."""
    if method == "PUT" and comp == "block" and copied:
        return COPY_BLOCK
    if method == "PUT":
        return {"block": PUT_BLOCK, "blocklist": PUT_BLOCK_LIST, None: PUT_BLOB}.get(comp, OTHER_BLOB)
    if method == "GET" and comp is None:
        return GET_RANGE if ranged else GET_WHOLE
    return HEAD_BLOB if method == "HEAD" else OTHER_BLOB
