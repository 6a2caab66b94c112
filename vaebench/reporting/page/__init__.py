"""From records to one HTML page a study, which loads nothing from elsewhere.

`page` puts a page together and says where its numbers come from, `summary` says what they say, `gallery` shows images,
and the figures come from `reporting.figures`. `site` writes the pages to their places.
"""
