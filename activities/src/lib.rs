//! Activities of the built-in workflows: the local extractive provider and documents.
