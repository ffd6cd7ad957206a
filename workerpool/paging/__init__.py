"""Pagination: how the pages of an input follow each other, and the chains that they make.

A policy (`LinkHeader`, `NextLink`, `Cursor`, `PageNumber`, `Offset`) is given to `WorkerPool.stream`, to `fetch` or to
a `Job` as ``pages=``. Each page is an outcome of its own, with the identity of its input and its number in
`Request.page`, and is sent within the pool's budgets like any other request.
"""

from workerpool.errors import PageError
from workerpool.paging.asking import Position, as_page
from workerpool.paging.chains import Chain, Chains, Journal, check_pages, hash_of
from workerpool.paging.policies import MAX_PAGES, Cursor, LinkHeader, NextLink, Offset, PageNumber, Pages

__all__ = [
    "MAX_PAGES",
    "Chain",
    "Chains",
    "Cursor",
    "Journal",
    "LinkHeader",
    "NextLink",
    "Offset",
    "PageError",
    "PageNumber",
    "Pages",
    "Position",
    "as_page",
    "check_pages",
    "hash_of",
]
