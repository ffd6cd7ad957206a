"""How a run looks while it goes on.

| module | owns |
|---|---|
| `lines` | a moment of a run in a line, and its parts in words |
| `picture` | a moment of a run as a picture of the terminal's width and height, by rich |
| `speech` | lines on standard error |
| `live` | who shows these, and when: a live display, or a line now and then |

It reads moments, and changes nothing. rich is imported only where a picture is drawn.
"""

from workerpool.view.live import Live

__all__ = ["Live"]
