//! COPY in both directions, and what is too big for any buffer.
