"""The page of proofs: what was run is replaced, what was not is kept."""
from __future__ import annotations

from tests.paths import ROOT
from tests.proofs import HEAD, NOT_MET, REASONS, RESULTS, durations, merged


def test_sections_are_replaced_by_name_and_the_others_are_kept_in_order() -> None:
    first = merged("", {"b::two": "## b::two\n\npassed in 3 s; here\n\n```\nold\n```\n", "a::one": "## a::one\n\npassed in 1 s; here\n"})
    assert first == f"{HEAD}\n## a::one\n\npassed in 1 s; here\n\n## b::two\n\npassed in 3 s; here\n\n```\nold\n```\n"
    again = merged(first, {"b::two": "## b::two\n\npassed in 2 s; there\n"})
    assert again == f"{HEAD}\n## a::one\n\npassed in 1 s; here\n\n## b::two\n\npassed in 2 s; there\n"


def test_what_did_not_hold_stands_at_the_end_until_it_holds() -> None:
    failed = {"a::one": "## a::one\n\nfailed in 70 s; here\n\nToo slow.\n", "b::two": "## b::two\n\npassed in 3 s; here\n"}
    page = merged("", failed)
    assert page == f"{HEAD}\n{failed['b::two']}\n{NOT_MET}\n\n{failed['a::one']}"
    assert durations(page) == {"a::one": "   70 s", "b::two": "    3 s"}
    assert merged(page, {}) == page
    held = "## a::one\n\npassed in 4 s; here\n"
    assert merged(page, {"a::one": held}) == f"{HEAD}\n{held}\n{failed['b::two']}"


def test_every_section_names_a_proof_that_there_is() -> None:
    named = [*durations(RESULTS.read_text(encoding="utf-8")), *REASONS]
    assert named
    for name in named:
        file, test = name.split("::")
        assert f"def {test.split('[')[0]}(" in (ROOT / "tests" / file).read_text(encoding="utf-8"), name
