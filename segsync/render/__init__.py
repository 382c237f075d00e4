"""What is shown: plans, reports, status and errors as text, JSON, Markdown or HTML.

The one place with colour, escaping and masking. Renderers return values; `terminal` prints them.
"""
