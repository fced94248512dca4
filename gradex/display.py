"""How notebooks show objects: a title, facts, and parts to open. Static, and readable on dark pages too."""

from base64 import b64encode
from collections.abc import Callable, Mapping
from html import escape
from io import BytesIO

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

#: Rows and columns of a table that is shown whole.
_ROWS, _COLUMNS = 20, 20
#: Characters of a name in a figure.
_LONGEST = 24
#: Colours are those of the page; lines are grey, which is seen on light and on dark ones. Elements are named
#: more closely than needed, as JupyterLab and the site lay out lists and tables in ways of their own.
_STYLE = """<style>
.gradex-card {display: inline-block; border: 1px solid #8888; border-radius: 4px; padding: 0.5em 0.8em;}
.gradex-card h4 {margin: 0 0 0.4em 0;}
.gradex-card dl {display: grid; grid-template-columns: max-content auto; gap: 0.1em 1em; margin: 0.2em 0;}
div.gradex-card dl dt {font-weight: normal; opacity: 0.7; float: none; width: auto;}
div.gradex-card dl dd {margin: 0; float: none; width: auto;}
div.gradex-card table {margin: 0.3em 0; border-collapse: collapse;}
div.gradex-card table :is(th, td) {padding: 0.15em 0.7em; text-align: right;}
div.gradex-card table tr > :first-child {text-align: left;}
.gradex-card summary {cursor: pointer;}
.gradex-card img {background: white; padding: 4px; max-width: 100%;}
</style>"""


def card(title: str, facts: Mapping[str, object], *parts: str) -> str:
    """Give HTML with a title, facts by name, and parts below them, which are HTML themselves.

    Facts that are None are left out, and numbers are shortened.

    Examples
    --------
    >>> from gradex.display import card
    >>> shown = card("A <title>", {"steps": 12_000, "loss": 0.123456, "unknown": None})
    >>> "A &lt;title&gt;" in shown, "<dd>12,000</dd>" in shown, "<dd>0.1235</dd>" in shown, "unknown" in shown
    (True, True, True, False)
    """
    told = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(_text(value))}</dd>"
        for name, value in facts.items()
        if value is not None
    )
    return f'{_STYLE}<div class="gradex-card"><h4>{escape(title)}</h4><dl>{told}</dl>{"".join(parts)}</div>'


def folded(title: str, content: str, shown: bool = False) -> str:
    """Give HTML that opens and closes."""
    return f"<details{' open' * shown}><summary>{escape(title)}</summary>{content}</details>"


def table(frame: pd.DataFrame, index: bool = False) -> str:
    """Give a table as HTML, shortened in the middle if it is long."""
    return frame.to_html(
        index=index, border=0, float_format="{:.4g}".format, max_rows=_ROWS, max_cols=_COLUMNS, na_rep=""
    )


def picture(draw: Callable[[Axes], object], says: str, size: tuple[float, float] = (4.6, 2.6)) -> str:
    """Draw a figure of a size in inches into HTML, with what it `says` to those who do not see it."""
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    draw(figure.subplots())
    content = BytesIO()
    # Names that stick out of the axes count, and white around them does not.
    figure.savefig(content, format="png", dpi=90, bbox_inches="tight")
    data = b64encode(content.getvalue()).decode()
    return f'<img alt="{escape(says)}" src="data:image/png;base64,{data}">'


def literal(name: str) -> str:
    r"""Give a name as Matplotlib draws it letter by letter: dollars are no mathematics.

    Long names lose their middle, or there would be no room for what they belong to.

    Examples
    --------
    >>> from gradex.display import literal
    >>> print(literal("from $5 to $6"))
    from \$5 to \$6
    >>> print(literal("a name that is as long as a sentence in a book"))
    a name that …e in a book
    """
    if len(name) > _LONGEST:
        name = f"{name[: _LONGEST - 12]}…{name[-11:]}"
    return name.replace("$", r"\$")


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
