"""Bytes that were meant for a terminal, as lines that any of our panes and reports may show.

Pure, and at the bottom: it imports nothing of the other folders. The script's output passes `lines.TerminalLines` on
its way to a message or a pane; text of a foreign hand passes `lines.printable`.
"""
