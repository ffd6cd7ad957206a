"""An examination of one server: a handful of polite requests, what they show, and which settings that speaks for."""

from workerpool.doctor.examiner import Examiner
from workerpool.doctor.findings import Examination
from workerpool.doctor.text import as_text

__all__ = ["Examination", "Examiner", "as_text"]
