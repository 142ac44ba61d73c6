"""The page on what can be asked is that of the templates."""

from dollhouse.questions.reference_page import PAGE, reference_page


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text("utf-8") == reference_page(), "run python -m dollhouse.questions.reference_page"
