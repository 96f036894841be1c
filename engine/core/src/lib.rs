//! The rules of Dacapo, pure: events, commands, runs folded from events, and the store trait.
