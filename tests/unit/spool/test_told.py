"""What clients were told is here, by repository, for a while."""

from proxy.oci.digest import Digest
from proxy.oci.names import Name
from proxy.spool.told import Told

APP, WEB = Name("app"), Name("web")
ONE, TWO, THREE = (Digest.of(each) for each in (b"1", b"2", b"3"))


def test_as_many_are_told_as_have_not_named_it() -> None:
    told = Told(kept=60)
    for name in (APP, APP, APP, WEB):
        told.add(name, ONE)

    told.subtract(APP, ONE, 2)
    assert told.repositories() == {ONE: {APP, WEB}}
    told.subtract(APP, ONE, 1)
    told.subtract(APP, TWO, 1)
    assert told.repositories() == {ONE: {WEB}}
    assert (told.take(WEB, ONE), told.take(WEB, ONE)) == (1, 0)
    assert told.repositories() == {}


def test_what_was_told_long_ago_is_forgotten() -> None:
    told = Told(kept=-1)
    told.add(APP, ONE)

    assert told.repositories() == {}
    assert told.take(APP, ONE) == 0


def test_of_too_many_the_ones_told_last_stay() -> None:
    told = Told(kept=60, most=2)
    for digest in (ONE, TWO, ONE, THREE):
        told.add(APP, digest)

    assert told.repositories().keys() == {ONE, THREE}
    told.clear()
    assert told.repositories() == {}
