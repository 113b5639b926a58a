"""Writes tables_*.parquet and tables_*.arrow as Hugging Face's data sets have them, with pyarrow, which those use. TestTablesOfPyarrow has
the same rows. lz4_*.parquet have the codec LZ4_RAW in columns that are needed or in one that is not.

    pip install pyarrow==26.0.1
    python tables_make.py
"""
import pyarrow
from pyarrow import ipc, parquet

assert pyarrow.__version__ == "26.0.1"

image = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
turn = pyarrow.struct([("from", pyarrow.string()), ("value", pyarrow.string())])
part = pyarrow.struct([("type", pyarrow.string()), ("text", pyarrow.string())])
message = pyarrow.struct([("role", pyarrow.string()), ("content", pyarrow.list_(part))])


def parts(text):
    return [{"type": "image", "text": None} if line == "<image>" else {"type": "text", "text": line} for line in text.split("\n")]


conversations = [
    ("one", {"bytes": b"first file", "path": None}, [("human", "<image>\nWhat is \"this\"?"), ("gpt", "A cat, é.")]),
    ("two", None, [("system", "Be kind."), ("human", "Hi?"), ("gpt", "Yes.")]),
    ("three", {"bytes": None, "path": "c.jpg"}, [("human", "<image>"), ("gpt", "long " * 500)]),
    ("four", None, []),
]
single = pyarrow.table({
    "id": pyarrow.array([row[0] for row in conversations], pyarrow.string()),
    "score": pyarrow.array([0.5, None, 1.5, None], pyarrow.float64()),
    "image": pyarrow.array([row[1] for row in conversations], image),
    "conversations": pyarrow.array([[{"from": f, "value": v} for f, v in row[2]] for row in conversations], pyarrow.list_(turn)),
})
roles = {"human": "user", "gpt": "assistant", "system": "system"}
several = pyarrow.table({
    "messages": pyarrow.array([[{"role": roles[f], "content": parts(v)} for f, v in row[2]] for row in conversations], pyarrow.list_(message)),
    "images": pyarrow.array([[row[1]] if row[1] else [] for row in conversations], pyarrow.list_(image)),
    "id": pyarrow.array([row[0] for row in conversations], pyarrow.large_string()),
})
for name, table in [("single", single), ("several", several)]:
    parquet.write_table(table, f"tables_{name}.parquet", row_group_size=3, compression="zstd", write_page_index=True)
    parquet.write_table(table, f"tables_{name}_v2.parquet", row_group_size=3, data_page_version="2.0", use_dictionary=False)
    with ipc.new_stream(f"tables_{name}.arrow", table.schema) as writer:
        writer.write_table(table, max_chunksize=3)
    with ipc.new_file(f"tables_{name}_file.arrow", table.schema) as writer:
        writer.write_table(table)
for name, codecs in [("needed", "lz4"), ("unused", {"score": "lz4"})]:
    parquet.write_table(single, f"lz4_{name}.parquet", compression=codecs)
