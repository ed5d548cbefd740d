"""On which device each layer runs, why, and how long it takes there.

It may import `hooks` and `steps`. `placement_record` notes which ops a layer makes, `placement` collects the
graph that TensorFlow ends with, `graph` (or `eager`) joins the two, `rows` makes the table, `placement` sends it.
"""
