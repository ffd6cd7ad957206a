"""Bodies as files: under which names, by which steps, and how one goes on that broke off.

| module | owns |
|---|---|
| `save` | what a user asks for, and what comes of it |
| `names` | a template's name for a request, which leads nowhere else |
| `ranges` | what a server says of a body's parts, and what it is asked for the rest |
| `parts` | a body that is not whole yet, on the disk |
| `place` | the step from there to its name |
| `board` | how far each one is, for who looks |

Worker threads enter all of it. It sends nothing: `transport` does, and gives bytes to a `Part`.
"""

from workerpool.saving.board import Board, Download
from workerpool.saving.names import Name
from workerpool.saving.parts import Part, make_ready, offered, open_part, tidy
from workerpool.saving.place import is_taken, put
from workerpool.saving.ranges import Known, Offer, Span
from workerpool.saving.save import Save, Saved

__all__ = [
    "Board",
    "Download",
    "Known",
    "Name",
    "Offer",
    "Part",
    "Save",
    "Saved",
    "Span",
    "is_taken",
    "make_ready",
    "offered",
    "open_part",
    "put",
    "tidy",
]
