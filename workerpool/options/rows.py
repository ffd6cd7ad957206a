"""The options of requests that are made of rows. Values, any thread."""

from __future__ import annotations

from workerpool.options.option import Option
from workerpool.options.reading import fields, json_or_file, text_or_file

# fmt: off

QUERY = Option(
    "query", "--query SQL",
    "the rows to fetch, of a database whose SQLAlchemy URL is the SOURCE. Order them by what is unique: a job that "
    "goes on asks again, and [passes by what has ended](../howto/rows.md#rows-of-a-database). Needs the extra `[sql]`, "
    "and the database's driver", "",
    python="SQL that gives the rows to fetch, where `sources` is one database's SQLAlchemy URL. Order them by what is "
    "unique: a job that goes on asks again, and [passes by what has ended](../howto/rows.md#rows-of-a-database)")

TEMPLATE = (
    Option(
        "url", "--template URL",
        "make a request of each row by [this URL](../howto/rows.md): `https://api.example.com/items/{{id}}`. Values "
        "are percent-encoded; `{+path}` keeps slashes, `{?q,lang}` makes a query (RFC 6570). A line of text is the "
        "column `line`. Needs the extra `[etl]`", "rows say their requests",
        python="a URI template (RFC 6570): `{{id}}` is percent-encoded, `{+path}` keeps slashes, `{?q,lang}` makes a "
        "query"),
    Option("method", "--method METHOD", "of the template's requests", "GET, or POST with a body"),
    Option(
        "headers", "--header TEXT",
        "a header of the template's requests, with columns in it: `'X-Shop: {{shop}}'`. A secret may be [named]"
        "(../howto/credentials.md#where-secrets-are): `'X-Api-Key: env:KEY'`, `'Authorization: Bearer file:token'`",
        many=True,
        python="their headers, whose texts may have `{{column}}` in them"),
    Option("params", "", "parameters for the query, as JSON values with places in their texts", "none"),
    Option(
        "json", "--json TEXT",
        "their body as JSON, or @FILE: `'{\"id\": \"{id:int}\"}'`. A text that is one place takes the column's value "
        "with its type; of text, `:int`, `:float`, `:bool` and `:json` make one", "none", read=json_or_file,
        python="their body as a JSON value. A text in it that is one place, such as `\"{{count}}\"`, becomes the "
        "column's value with its type; `{count:int}`, `:float`, `:bool` and `:json` make one of text"),
    Option(
        "data", "--data TEXT", "their body as text, or @FILE. Values are put in as they are", "none",
        read=text_or_file,
        python="their body as text or bytes, or the fields of a form, whose values may have places"),
    Option("key", "--key TEXT", "the key of their records, such as `{{id}}`", "the column `key`, else the URL"),
    Option(
        "optional", "--optional COLUMNS",
        "columns, parted by commas, that a row may lack. Their part of the query or their header is left out then, in "
        "JSON they are null", "a row that lacks one fails, unsent", read=fields,
        python="columns that a row may lack: their part of the query or their header is left out then, in JSON they "
        "are null"),
    Option("idempotent", "", "as in `Request`: whether they may be repeated", "the method says"),
)

# fmt: on
