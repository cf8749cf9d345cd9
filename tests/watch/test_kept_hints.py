from __future__ import annotations

import pytest

from flagfall.watch.kept_hints import KeptHints


def test_a_hint_is_kept_until_a_look_has_followed() -> None:
    hints = KeptHints()
    hints.add(["2026-11-01/_SUCCESS"])
    assert set(hints.asked()) == {"2026-11-01/_SUCCESS"}
    hints.followed(hints.asked())
    assert not hints.asked()


@pytest.mark.invariant(1)
def test_a_key_that_is_named_again_while_a_look_is_under_way_is_kept_for_the_next() -> None:
    """The look may have passed it: the marker was removed then, and has been written anew since."""
    hints = KeptHints()
    hints.add(["a/_SUCCESS", "b/_SUCCESS"])
    asked = hints.asked()
    hints.add(["a/_SUCCESS"])
    hints.followed(asked)
    assert set(hints.asked()) == {"a/_SUCCESS"}
