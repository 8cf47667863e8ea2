"""Two builds in, what changed out: match, compare, the reasons why not."""
