"""Engines execute packs. All have one method, `map(fn, items) -> Iterator[(item, result or error)]`."""
