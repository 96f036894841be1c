//! `select!`, `join!` and `try_join!`: order, guards, patterns, and what becomes of the losers.

use std::{
    cell::{Cell, RefCell},
    future::{Future, IntoFuture, Ready, pending, ready},
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, Waker},
};

use dacapo_worker::{join, select, try_join};
use futures_util::FutureExt as _;

/// A future that is ready at its poll number `polls`, and writes down its polls and its drop.
struct Step {
    name: &'static str,
    polls: u32,
    log: Log,
}

#[derive(Clone, Default)]
struct Log(Rc<RefCell<Vec<String>>>);

impl Log {
    fn step(&self, name: &'static str, polls: u32) -> Step {
        Step { name, polls, log: self.clone() }
    }

    fn write(&self, line: impl Into<String>) {
        self.0.borrow_mut().push(line.into());
    }

    fn take(&self) -> Vec<String> {
        self.0.take()
    }
}

impl Future for Step {
    type Output = &'static str;

    fn poll(mut self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<&'static str> {
        self.log.write(format!("poll {}", self.name));
        self.polls -= 1;
        if self.polls == 0 { Poll::Ready(self.name) } else { Poll::Pending }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.log.write(format!("drop {}", self.name));
    }
}

/// Polls a future until it is ready.
fn run<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    for _ in 0..100 {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return output;
        }
    }
    panic!("the future is not ready after 100 polls")
}

#[test]
fn branches_are_polled_in_the_order_written_and_the_first_ready_one_wins() {
    let log = Log::default();
    let won = run(async {
        select! {
            a = log.step("a", 2) => a,
            b = log.step("b", 2) => b,
        }
    });
    assert_eq!(won, "a");
    assert_eq!(log.take(), ["poll a", "poll b", "poll a", "drop a", "drop b"]);
}

#[test]
fn losers_are_dropped_before_the_arm_runs() {
    let log = Log::default();
    run(async {
        select! {
            _ = log.step("slow", 9) => log.write("wrong arm"),
            name = log.step("fast", 1) => log.write(format!("arm of {name}")),
        }
    });
    assert_eq!(log.take(), ["poll slow", "poll fast", "drop fast", "drop slow", "arm of fast"]);
}

#[test]
fn a_guarded_branch_is_not_even_made_when_its_guard_is_false() {
    let made = Cell::new(0);
    let make = || {
        made.set(made.get() + 1);
        ready(1)
    };
    let mut source = None::<Ready<u8>>;
    let value = run(async {
        select! {
            a = make(), if made.get() > 0 => a,
            b = source.as_mut().unwrap(), if source.is_some() => b,
            c = ready(3), if true => c,
        }
    });
    assert_eq!((value, made.get()), (3, 0));
}

#[test]
fn a_value_that_does_not_match_disables_its_branch() {
    let log = Log::default();
    let value = run(async {
        select! {
            Some(a) = ready(None::<u8>) => a,
            Ok(b) | Err(b) = log.step("b", 3).map(|_| Err::<u8, u8>(2)) => b,
        }
    });
    assert_eq!(value, 2);
    assert_eq!(log.take().len(), 4);
}

#[test]
fn patterns_bind_by_value_reference_and_mutably() {
    struct NotCopy(String);
    let length = 4;
    run(async {
        let NotCopy(owned) = select! {
            Some(value) = ready(Some(NotCopy("owned".to_owned()))) => value,
            None = pending::<Option<u8>>() => unreachable!(),
        };
        assert_eq!(owned, "owned");
        let length = select! {
            Some(&length) = ready(Some(&length)) => length,
        };
        assert_eq!(length, 4);
        select! {
            (mut count @ 1..=9, [first, rest @ ..]) = ready((3, [1, 2, 3])) => {
                count += first;
                assert_eq!((count, rest), (4, [2, 3]));
            }
        }
    });
}

#[test]
fn the_else_arm_runs_when_every_branch_is_disabled() {
    let value = run(async {
        select! {
            Some(a) = ready(None::<u8>) => a,
            b = ready(1), if false => b,
            else => 9,
        }
    });
    assert_eq!(value, 9);
}

#[test]
#[should_panic(expected = "every branch of select! is disabled and it has no `else` branch")]
fn without_an_else_arm_it_panics() {
    run(async {
        select! { _ = ready(1), if false => {} }
    });
}

#[test]
fn arms_belong_to_the_surrounding_function() {
    async fn counted(limit: u32) -> Result<u32, String> {
        let mut count = 0;
        let end = 'outer: loop {
            select! {
                _ = ready(()), if count < 3 => { count += 1; continue }
                _ = ready(()), if count == 3 && limit == 3 => return Ok(count),
                value = ready("5".parse::<u32>()), if limit == 5 => break 'outer value.map_err(|error| error.to_string())?,
                value = ready(Err::<u32, String>("early".to_owned())) => value?,
            };
        };
        Ok(end + count)
    }
    assert_eq!(run(counted(3)), Ok(3));
    assert_eq!(run(counted(5)), Ok(8));
    assert_eq!(run(counted(9)), Err("early".to_owned()));
}

#[test]
fn a_future_passed_by_reference_goes_on_in_the_next_round() {
    let log = Log::default();
    let rounds = run(async {
        let mut timer = log.step("timer", 3);
        let mut rounds = 0;
        loop {
            select! {
                _ = &mut timer => break rounds,
                _ = ready(()) => rounds += 1,
            }
        }
    });
    assert_eq!(rounds, 2);
    assert_eq!(log.take(), ["poll timer", "poll timer", "poll timer", "drop timer"]);
}

#[test]
fn arms_may_await_and_select_again_and_builders_are_futures() {
    struct Builder(u8);
    impl IntoFuture for Builder {
        type Output = u8;
        type IntoFuture = Ready<u8>;
        fn into_future(self) -> Ready<u8> {
            ready(self.0)
        }
    }
    let value = run(async {
        select! {
            a = Builder(1) => {
                let b = ready(2).await;
                a + b + select! { c = Builder(3) => c, _ = pending::<()>() => 0 }
            }
        }
    });
    assert_eq!(value, 6);
    assert_eq!(run(async { join!(Builder(1), Builder(2)) }), (1, 2));
}

#[test]
fn names_of_the_expansion_do_not_meet_those_of_the_user() {
    let (__value, __context, __pending, __future0) = (1, 2, 3, 4);
    let sum = run(async {
        select! { __polled = ready(__value + __context), if __pending == 3 => __polled + __future0 }
    });
    assert_eq!(sum, 7);
}

#[test]
fn join_polls_in_the_order_written_and_drops_each_future_when_it_is_ready() {
    let log = Log::default();
    let all = run(async { join!(log.step("a", 2), log.step("b", 1), log.step("c", 3)) });
    assert_eq!(all, ("a", "b", "c"));
    let expected = ["poll a", "poll b", "drop b", "poll c", "poll a", "drop a", "poll c", "poll c", "drop c"];
    assert_eq!(log.take(), expected);
    run(async { join!() });
    assert_eq!(run(async { join!(ready(1)) }), (1,));
}

#[test]
fn try_join_ends_with_the_first_error_and_drops_the_rest() {
    let log = Log::default();
    let all: Result<(u8, &str), String> = run(async { try_join!(ready(Ok(1)), log.step("b", 2).map(Ok)) });
    assert_eq!(all, Ok((1, "b")));
    log.take();
    let failed: Result<(&str, u8), String> =
        run(async { try_join!(log.step("a", 5).map(Ok), log.step("b", 2).map(|name| Err(name.to_owned()))) });
    assert_eq!(failed, Err("b".to_owned()));
    assert_eq!(log.take(), ["poll a", "poll b", "poll a", "poll b", "drop b", "drop a"]);
}
