"""Bodies: whether one can be sent again, going back to its start, and reading one whole. Worker threads only."""

from __future__ import annotations

from typing import Any

import requests
import urllib3.exceptions
from requests import PreparedRequest, Response
from requests.utils import rewind_body


def is_repeatable(prepared: PreparedRequest) -> bool:
    """Whether the body can be sent again: there is none, it is bytes, or a file that tells its position."""
    body: Any = prepared.body
    return body is None or isinstance(body, (bytes, str)) or isinstance(_position(prepared), int)


def rewind(prepared: PreparedRequest) -> None:
    """Go back to where the body began, before it is sent again: a file's end would be sent as an empty body."""
    if isinstance(_position(prepared), int):
        rewind_body(prepared)


def _position(prepared: Any) -> Any:
    return prepared._body_position  # requests notes it when it prepares a body that has a tell()


def read_whole(response: Response) -> None:
    """Read the whole body at once; requests' `content` joins pieces of 10 KiB, at a third of the speed for 1 MiB.

    Raises what `Response.content` raises.
    """
    raw = response.raw
    state: Any = response  # its content is kept in fields that requests' stubs do not name
    if state._content_consumed or not isinstance(raw, urllib3.response.BaseHTTPResponse):
        _ = response.content  # a hook has read it, or an adapter brought its own kind of raw
        return
    try:
        state._content = raw.read(decode_content=True)
    except urllib3.exceptions.ProtocolError as error:
        raise requests.exceptions.ChunkedEncodingError(error) from error
    except urllib3.exceptions.DecodeError as error:
        raise requests.exceptions.ContentDecodingError(error) from error
    except urllib3.exceptions.ReadTimeoutError as error:
        raise requests.exceptions.ConnectionError(error) from error
    except urllib3.exceptions.SSLError as error:
        raise requests.exceptions.SSLError(error) from error
    finally:
        state._content_consumed = True
        raw.release_conn()
