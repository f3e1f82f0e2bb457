// What a wake-up is about, in bits of epoll(7): the keys of Linux's wait queues.

/** There is something to read, or to accept: Linux's sock_def_readable. */
export const EVENTS_IN: u32 = 0xc3;
/** There is room to send: sk_stream_write_space and sock_def_write_space. */
export const EVENTS_OUT: u32 = 0x304;
/** An error is pending: sk_error_report. */
export const EVENTS_ERROR: u32 = 8;
/** The state changed, so that anything may be true now: sock_def_wakeup. */
export const EVENTS_ALL: u32 = 0x0fffffff;
