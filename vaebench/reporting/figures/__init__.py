"""The charts of a page, a file each: table and arrangement → chart, or None where records have no numbers for it."""
