"""From records to one HTML page a study, which loads nothing from elsewhere.

`site` puts the pages together and in their places, `gallery` shows images, and `ahead` draws a page beside a sweep. The
figures come from `reporting.figures`, the sentences from `reporting.answer`.
"""
