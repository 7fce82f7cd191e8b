//! Settings: what is refused, with which words, and who wins.
