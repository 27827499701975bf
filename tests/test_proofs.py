"""The page of proofs: what was run is replaced, what was not is kept."""
from __future__ import annotations

from tests.proofs import HEAD, merged


def test_sections_are_replaced_by_name_and_the_others_are_kept_in_order() -> None:
    first = merged("", {"b::two": "## b::two\n\npassed in 3 s; here\n\n```\nold\n```\n", "a::one": "## a::one\n\npassed in 1 s; here\n"})
    assert first == f"{HEAD}\n## a::one\n\npassed in 1 s; here\n\n## b::two\n\npassed in 3 s; here\n\n```\nold\n```\n"
    assert merged(first, {"b::two": "## b::two\n\nfailed in 2 s; there\n"}) == (
        f"{HEAD}\n## a::one\n\npassed in 1 s; here\n\n## b::two\n\nfailed in 2 s; there\n"
    )
