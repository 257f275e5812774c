//! Memory per connection is bounded, whatever passes through.
