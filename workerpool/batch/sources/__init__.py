"""Where the requests of a batch come from: files, standard input, or a program.

| module | owns |
|---|---|
| `base` | what a job needs of sources, as protocols |
| `files` | the sources that a user names, one after the other; each can be read on from any row |
| `given` | requests that a program gives itself |
| `query`, `database` | the rows of a database's query, and the database that is asked |
| `choice` | which of these are meant by names |
| `names` | which files are meant, and what is in each |
| `making` | what becomes of a row: by the fields that say a request, or by a program's template |
| `values` | which values say nothing, and how each is written |
| `rows` | how a line or row becomes a request, whatever it was read from |
| `formats` | which formats there are: lines of URLs and of JSON here, `csv` and `parquet` by themselves |
| `parquet_columns` | which columns of a Parquet file are read, and as what |
| `opened` | one source as its format reads it, and what formats are asked |
| `lines` | bytes parted into lines |
| `chunks`, `packed` | bytes as they come, unpacked |
| `marks`, `reading` | where a row begins, and what the bytes before it add up to |
| `verify` | whether parts of a source are as they were |
| `ahead` | reading on another thread where a reading may have to wait |
"""
