//! Text → validated Pods, or every problem in it.
