"""What something is that is no tarball of an image, and what to send in its place."""

from collections.abc import Collection

_POWERSHELL = "this is text in UTF-16, as PowerShell before 7.4 redirects it: use docker save --output FILE"
_BEGINNINGS = (  # of files; the sentence ends in what to do
    (b"PK\x03\x04", "this is a zip: unzip it, and send the tarball that is in it"),
    (b"PK\x05\x06", "this is an empty zip"),
    (b"\x04\x22\x4d\x18", "this is compressed with lz4: use zstd, gzip, xz or bzip2, or nothing"),
    (b"\x5d\x00\x00", "this is compressed with lzma: use xz, or send it without compression"),
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
_TARBALLS = (".tar", ".tgz", ".tar.gz", ".tar.zst", ".tar.xz", ".tar.bz2", ".tzst")


def explain_beginning(block: bytes, compressions: Collection[bytes]) -> str:
    """Return in words what begins with this block, no header of a tar; `compressions` are how known ones begin."""
    known = [*_BEGINNINGS, *((each, _TWICE) for each in compressions)]
    if sentence := next((sentence for beginning, sentence in known if block.startswith(beginning)), ""):
        return sentence
    if block.startswith(b"--") and b"content-disposition:" in block.lower():
        return _FORM
    if not block:
        return "this is not a tarball: it is empty"
    line = block.lstrip(b"\xef\xbb\xbf \t\r\n").partition(b"\n")[0].strip()
    if not line or not line.isascii() or not line.decode("ascii").isprintable():
        return "this is not a tarball"
    is_page, shown = line.startswith(b"<"), repr(line[:_SHOWN].decode())
    what = (
        f"a page that begins with {shown}; was somebody else asked for it?"
        if is_page
        else f"a text that begins with {shown}"
    )
    return f"this is not a tarball: it is {what}"


def what_it_holds(names: Collection[str]) -> str:
    """Return in words what a tar is, by the names of its files, that has neither `index.json` nor `manifest.json`."""
    folders = sorted({each.rpartition("/")[0] for each in names if each.endswith(("/manifest.json", "/index.json"))})
    inside = sorted(each for each in names if each.lower().endswith(_TARBALLS) and not each.endswith("/layer.tar"))
    if len(folders) == 1:
        return f"its image is in the folder {folders[0]!r}: pack what is in that, by tar -C {folders[0]} -cf - ."
    if any(each.endswith("/layer.tar") for each in names):
        return "it is of Docker before 1.10: load it, and save it with a newer one"
    if len(inside) == 1:
        return f"it has another tarball in it, {inside[0]!r}: send that"
    return "neither index.json nor manifest.json is in it; was it docker export? Use docker save"


def is_folder_of_skopeo(names: Collection[str], manifest: bytes) -> bool:
    """Return whether these are the files of `dir:`, whose `manifest.json` is that of a registry, and no list."""
    return "manifest.json" in names and ("version" in names or manifest.lstrip()[:1] == b"{")
