"""Pages of the report engine: escaped, self-contained, well-formed, with charts in the page's colours."""

from html.parser import HTMLParser

from dollhouse.evaluation.report.charts import PALETTE, accuracy_chart, curve_chart, svg
from dollhouse.evaluation.report.render import Chart, Note, Section, Table, render_sections

SCRIPT = "<script>alert('x')</script>"
VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """Collects links, visible text and tags, and checks that every tag is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [value for name, value in attributes if name in ("src", "href", "xlink:href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text += data


def test_every_string_of_a_page_is_escaped():
    chart = Chart(accuracy_chart([(SCRIPT, 0.5, (0.4, 0.6), 0.5, 0.5)]), SCRIPT, SCRIPT, Table([SCRIPT], [[SCRIPT]]))
    table = Table([SCRIPT, "value"], [[SCRIPT, (SCRIPT, SCRIPT)], ["none", None]], SCRIPT, folded=SCRIPT)
    parts = [SCRIPT, {SCRIPT: SCRIPT, "empty": None}, table, chart, Note(SCRIPT, "warning")]
    sections = [Section(SCRIPT, parts, aside=[table], aside_title=SCRIPT)] * 3
    text = render_sections(SCRIPT, sections, introduction=SCRIPT)
    page = Page(text)
    assert "script" not in page.tags
    in_head, in_section = 6, 10 + 2 * 6  # twelve of them in the table and the same table aside
    assert page.text.count(SCRIPT) == in_head + 3 * in_section
    assert "–" in page.text


def test_a_page_needs_no_network_and_follows_the_reader_s_colours():
    chart = Chart(accuracy_chart([("size", 0.5, None, 0.5, 0.5)]), "accuracy")
    text = render_sections("title", [Section("section", [chart])])
    assert all(link.startswith("#") for link in Page(text).links)
    assert "@import" not in text
    assert "url(http" not in text
    assert "prefers-color-scheme: dark" in text
    assert "width=device-width" in text
    for name in PALETTE:
        assert text.count(f"--{name}:") == 2, "light and dark"


def test_charts_have_axis_labels_intervals_and_text_that_stays_text():
    rows = [{"middle": 1.0 + n, "value": 0.1 * n, "ci95": None if n == 2 else [0.0, 0.3], "n": 5} for n in range(3)]
    drawn = str(svg(curve_chart(rows, "<far>, m", "wrong, $x_1$ %"), "chart"))
    assert "&lt;far&gt;, m" in drawn
    assert "wrong, $x_1$ %" in drawn, "no formula"
    assert drawn == str(svg(curve_chart(rows, "<far>, m", "wrong, $x_1$ %"), "chart"))
    assert "var(--model)" in drawn
    assert not any(light in drawn for light, _ in PALETTE.values())
    figure = curve_chart(rows, "distance, m", "wrong, %")
    whiskers = [line for line in figure.axes[0].lines if len(set(line.get_xdata())) == 1]
    assert [list(line.get_ydata()) for line in whiskers] == [[0.0, 30.0], [0.0, 30.0]]
    bars = accuracy_chart([("size", 0.5, (0.4, 0.6), 0.3, 0.5), ("contact", 0.7, None, None, None)]).axes[0]
    assert bars.get_xlabel() == "right answers, %"
    assert [round(patch.get_width()) for patch in bars.patches] == [50, 70, 30]
    assert [text.get_text() for text in bars.get_yticklabels()] == ["size", "contact"]
