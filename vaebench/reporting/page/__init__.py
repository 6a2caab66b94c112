"""From records to one HTML page a study, which loads nothing from elsewhere.

`page` puts a page together: `summary` says what the numbers say, `gallery` shows images, `provenance` says where the
numbers come from, and the figures come from `reporting.figures`. `site` writes the pages to their places.
"""
