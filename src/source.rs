//! Directories → documents, settled and whole.
