"""Reads the examples of docs/dialects.md, which tests run as they are printed."""

from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs/dialects.md"


def example(sender, heading, language):
    """Returns the one example in this language below a heading, with the address and key of the sender."""
    found, inside, text = [], False, None
    for line in PAGE.read_text().splitlines():
        if text is None and line.startswith("#"):
            inside = line.lstrip("# ") == heading
        elif text is None and inside and line == f"```{language}":
            text = ""
        elif text is not None and line == "```":
            found.append(text)
            text = None
        elif text is not None:
            text += line + "\n"
    (text,) = found
    return text.replace("127.0.0.1:5700", f"127.0.0.1:{sender.port}").replace("mochimochi", sender.key)
