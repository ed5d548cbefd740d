"""The screen: reads a run's journal and draws it; it owns nothing of the training and may come and go.

It may import what lies below it, but of the supervisor `launch` and `again` alone; only `cli` imports it. An event
comes by `feed.Feed`, which folds it; `session.Session.read` puts what there is to see into a `view.View`, and one
message a tick, `monitor.Ticked`, has `board.Board` draw the panes from it.
"""
