//! What goes wrong upstream is told to the client with its cause and remedy.
