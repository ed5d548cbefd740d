"""What is written out of a run's state: report.json, text, HTML, TensorBoard, a comparison, a plain line.

Pure: a state goes in, text or values come out, and who calls it writes the file. It may import `diagnose`, `terminal`
and `core`; `cli`, `supervisor`, `doctor` and `ui` use it. `report_json.build` is where all but the plain line begins.
"""
