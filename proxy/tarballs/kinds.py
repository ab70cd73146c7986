"""What something is that is no tarball of an image, and what to send in its place."""

import shlex
import struct
from collections.abc import Collection

_LZMA = "this is compressed with lzma: use xz, or send it without compression"
_POWERSHELL = "this is text in UTF-16, as PowerShell before 7.4 redirects it: use docker save --output FILE"
_BEGINNINGS = (  # of files; the sentence ends in what to do
    (b"PK\x03\x04", "this is a zip: unzip it, and send the tarball that is in it"),
    (b"PK\x05\x06", "this is an empty zip"),
    (b"\x04\x22\x4d\x18", "this is compressed with lz4: use zstd, gzip, xz or bzip2, or nothing"),
    (b"\x02\x21\x4c\x18", "this is compressed with lz4: use zstd, gzip, xz or bzip2, or nothing"),
    (b"\x89LZO", "this is compressed with lzop: use zstd, gzip, xz or bzip2, or nothing"),
    (b"\xff\x06\x00\x00sNaPpY", "this is compressed with snappy: use zstd, gzip, xz or bzip2, or nothing"),
    (b"LZIP", "this is compressed with lzip: use zstd, gzip, xz or bzip2, or nothing"),
    (b"\x1f\x9d", "this is compressed with compress: use zstd, gzip, xz or bzip2, or nothing"),
    (b"7z\xbc\xaf\x27\x1c", "this is a 7z archive: send the tarball that is in it"),
    (b"Rar!", "this is a rar archive: send the tarball that is in it"),
    *((mark, "this is a cpio archive: send what docker save writes") for mark in (b"07070", b"\xc7\x71", b"\x71\xc7")),
    (b"!<arch>\n", "this is an ar archive, as of Debian's packages: send what docker save writes"),
    (b"QFI\xfb", "this is the image of a disk: send what docker save writes"),
    (b"hsqs", "this is a squashfs image: send what docker save writes"),
    (b"\x7fELF", "this is a program: send what docker save writes"),
    *((mark, _POWERSHELL) for mark in (b"\xff\xfe", b"\xfe\xff")),
)
_TWICE = "this is compressed twice: decompress it once, and send that"
_FORM = "this is a form, as curl -F sends it: send the file itself, by curl -T FILE"
OF_SKOPEO = "the tarball is what skopeo and podman write to dir: and docker-dir; use oci-archive: or docker-archive:"
_SHOWN = 60  # characters
_NAMED = 5  # files or folders
_LZMA_HEADER = struct.Struct("<BIQ")  # properties, bytes of the dictionary, plain bytes
_LEAST_LZMA, _MOST_LZMA = 4096, 2**38  # bytes of a dictionary, and of the content if that is known
_LZMA_PROPERTIES = 9 * 5 * 5  # lc, lp and pb
TARBALLS = (  # endings, in lower case
    *(".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tbz", ".tar.xz", ".txz"),
    *(".tar.zst", ".tar.zstd", ".tzst"),
)


def explain_beginning(block: bytes, compressions: Collection[bytes]) -> str:
    """Return in words what begins with this block, no header of a tar; `compressions` are how known ones begin."""
    known = [*_BEGINNINGS, *((each, _TWICE) for each in compressions), *([(b"", _LZMA)] if is_lzma(block) else [])]
    if sentence := next((sentence for beginning, sentence in known if block.startswith(beginning)), ""):
        return sentence
    if block.startswith(b"--") and b"content-disposition:" in block.lower():
        return _FORM
    if not block.strip(b"\0"):
        return f"this is not a tarball: it is empty{', with nothing but zeros in it' if block else ''}"
    line = block.lstrip(b"\xef\xbb\xbf \t\r\n").partition(b"\n")[0].strip()
    if not line or not line.isascii() or not line.decode("ascii").isprintable():
        return "this is not a tarball"
    is_page, shown = line.startswith(b"<"), repr(line[:_SHOWN].decode())
    what = (
        f"a page that begins with {shown}; it is probably an error page of another server"
        if is_page
        else f"a text that begins with {shown}"
    )
    return f"this is not a tarball: it is {what}"


def is_lzma(block: bytes) -> bool:
    """Return whether something begins as lzma does, which has no magic: by what xz takes for its parameters."""
    if len(block) < _LZMA_HEADER.size:
        return False
    properties, dictionary, size = _LZMA_HEADER.unpack_from(block)
    highest = 1 << max(0, dictionary.bit_length() - 1)
    is_dictionary = dictionary >= _LEAST_LZMA and dictionary in {highest, highest | highest >> 1, 2**32 - 1}
    return properties < _LZMA_PROPERTIES and is_dictionary and (size == 2**64 - 1 or size < _MOST_LZMA)


def what_it_holds(names: Collection[str]) -> str:
    """Return in words what a tar is, by the names of its files, that has neither `index.json` nor `manifest.json`."""
    folders = sorted({each.rpartition("/")[0] for each in names if each.endswith(("/manifest.json", "/index.json"))})
    inside = sorted(each for each in names if each.lower().endswith(TARBALLS) and not each.endswith("/layer.tar"))
    shown = [repr(each[:_SHOWN]) for each in folders or inside]
    some = ", ".join(shown[:_NAMED]) + (", …" if len(shown) > _NAMED else "")
    if folders:
        which = f"its image is in the folder {some}" if len(folders) == 1 else f"its images are in the folders {some}"
        pack = f"pack what is in {'that' if len(folders) == 1 else 'each by itself'}"
        return f"{which}: {pack}, by tar -C {shlex.quote(folders[0])} -cf - ."
    if any(each.endswith("/layer.tar") for each in names):
        return "it is of Docker before 1.10: load it, and save it with a newer one"
    if inside:
        return f"it has another tarball in it, {some}: send that{' and each other by itself' if shown[1:] else ''}"
    if any(each == "oci-layout" or each.startswith("blobs/") for each in names):
        return "it is an OCI layout without its index.json: pack the whole folder, by tar -C FOLDER -cf - ."
    return "neither index.json nor manifest.json is in it; was it docker export? Use docker save"


def is_folder_of_skopeo(manifest: bytes) -> bool:
    """Return whether this is the `manifest.json` of `dir:`, which is that of a registry, and no list."""
    return manifest.lstrip()[:1] == b"{"
