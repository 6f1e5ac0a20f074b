"""Callbacks by name."""

from __future__ import annotations

import pytest

from common.named import Named


def test_a_name_has_one_callback_however_often_it_is_registered():
    hooks = Named("member")

    @hooks.register("mutes")
    def first():
        """Whatever it does."""

    assert hooks == {"mutes": first}
    assert hooks.register("mutes")(first) is first
    with pytest.raises(ValueError, match="member mutes is registered already"):
        hooks.register("mutes")(lambda: None)
    assert hooks == {"mutes": first}
