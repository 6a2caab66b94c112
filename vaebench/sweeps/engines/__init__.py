"""Where runs are executed. One interface: `map(fn, items) -> Iterator[(item, result or error)]`."""
