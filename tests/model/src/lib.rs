//! A model of Dacapo's ownership protocol, explored exhaustively.
