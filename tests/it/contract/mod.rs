//! The contract of [`dacapo_core::Store`]: one suite that the store in memory and the one on Postgres pass alike.
//!
//! A case is an async function of a [`lab::Lab`], which has a store of its own. Time passes by moving the clock where
//! there is one to move; on Postgres it passes by itself, so cases keep their times short.

#![allow(clippy::unwrap_used, reason = "a case fails by it")]

mod activities;
mod between;
mod branches;
mod claims;
mod dead_letters;
mod filters;
mod fleet;
pub(crate) mod lab;
mod messages;
mod operations;
mod postgres;
mod queries;
mod starts;
mod timers;
mod writes;

/// Makes of each case a test against each store.
macro_rules! contract {
    ($($noun:ident: $($case:ident),+;)+) => {
        /// Against the store in memory.
        mod in_memory {
            $(mod $noun {
                $(#[tokio::test]
                async fn $case() {
                    super::super::$noun::$case(super::super::lab::Lab::memory()).await;
                })+
            })+
        }

        /// Against Postgres.
        mod on_postgres {
            $(mod $noun {
                $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    let database = super::super::postgres::Database::create().await;
                    super::super::$noun::$case(database.lab()).await;
                    database.verify().await;
                })+
            })+
        }
    };
}

contract! {
    starts:
        a_started_run_is_there_and_ready,
        a_start_of_a_workers_own_is_owned_from_its_first_moment,
        a_start_for_a_worker_that_is_gone_starts_nothing,
        the_same_start_again_is_a_duplicate,
        the_same_request_leads_to_the_same_run,
        an_open_workflow_id_refuses_a_second_start,
        use_existing_answers_with_the_open_run_for_ever,
        terminate_existing_replaces_the_run_whoever_owns_it,
        a_closed_workflow_id_is_used_again_as_the_policy_says,
        a_signal_comes_with_the_start_or_to_the_run_that_is_there,
        racing_starts_of_one_workflow_id_start_one_run,
        racing_replacements_leave_one_open_run;
    writes:
        a_write_appends_what_it_says,
        a_write_at_a_place_that_is_taken_is_fenced,
        a_write_of_another_owner_or_epoch_is_fenced,
        a_write_without_an_event_is_fenced_too,
        a_fencing_write_ends_what_was_on_its_way,
        of_two_writes_for_one_place_one_is_applied,
        only_messages_that_were_taken_leave_the_inbox,
        a_fenced_write_consumes_nothing,
        a_run_is_not_closed_over_a_message_it_has_not_taken,
        a_closed_run_leaves_no_row_behind,
        why_a_run_does_not_move_is_shown_until_it_does,
        published_values_outlive_the_run;
    messages:
        a_message_to_an_owned_run_waits_for_its_owner,
        a_message_wakes_a_run_that_nobody_owns,
        a_resent_message_is_recorded_once,
        a_run_that_never_was_takes_no_message,
        messages_of_one_sender_stay_in_order,
        a_run_takes_no_more_signals_than_the_limit,
        anybody_ends_a_run_that_nobody_owns,
        the_owner_ends_a_run_that_is_owned,
        no_message_is_lost_while_its_run_changes_hands;
    claims:
        racing_claimers_take_each_run_once,
        a_claim_takes_only_what_it_asks_for,
        claims_go_by_priority_then_by_age,
        a_delayed_start_is_not_claimed_before_its_time,
        a_message_ends_a_start_delay,
        who_is_no_member_of_the_fleet_claims_nothing,
        a_load_holds_everything_of_a_run,
        a_released_run_is_there_for_others,
        a_run_released_for_later_is_claimed_then,
        a_run_with_a_message_or_another_fence_is_not_released,
        a_run_that_waits_for_a_signal_alone_is_no_finding;
    fleet:
        a_lease_lives_as_long_as_it_is_renewed,
        a_beat_tells_what_waits,
        the_fleet_is_listed_as_long_as_it_lives,
        a_live_worker_is_not_taken_over,
        the_runs_of_a_lapsed_worker_go_to_others,
        who_leaves_is_taken_over_at_once,
        a_run_that_kills_its_workers_is_parked_until_a_message_comes,
        progress_forgives_earlier_take_overs,
        the_attempts_of_a_lapsed_worker_are_lost_and_count,
        an_attempt_that_a_dead_owner_kept_is_told_to_the_next;
    activities:
        racing_claimers_take_each_attempt_once,
        attempts_go_by_queue_priority_and_age,
        a_report_is_a_message_to_the_run,
        a_report_wakes_a_run_that_nobody_owns,
        only_the_claimer_reports_under_its_token,
        an_attempt_given_back_is_not_spent,
        a_retry_waits_for_its_time_and_knows_the_last_heartbeat,
        a_request_to_stop_reaches_the_heartbeat,
        an_attempt_that_waits_learns_at_once_that_it_is_to_stop,
        an_attempt_is_offered_and_stopped_by_one_write,
        an_attempt_that_nobody_takes_in_time_expires,
        an_attempt_that_takes_too_long_expires,
        an_activity_that_takes_too_long_in_all_expires,
        an_attempt_that_falls_silent_expires,
        signs_of_life_hold_the_heartbeat_timeout_off,
        signs_of_life_do_not_lengthen_an_attempt,
        the_owner_watches_what_it_keeps;
    timers:
        a_due_timer_wakes_a_run_that_nobody_owns,
        the_owner_of_a_run_fires_its_own_timers,
        a_timer_that_its_owner_forgets_is_moved_after_a_while,
        a_timer_that_was_given_up_is_not_moved,
        timers_move_in_batches_earliest_first,
        a_runs_timeout_is_a_timer_that_ends_it;
    between:
        a_child_is_started_and_its_parent_told,
        a_child_under_a_taken_id_is_refused,
        a_write_that_is_fenced_wants_nothing_of_others,
        a_start_and_its_first_step_want_something_together,
        signals_between_runs_arrive_in_order_and_are_answered,
        a_signal_to_nobody_fails_in_the_senders_history,
        what_a_closed_run_wanted_is_done_all_the_same,
        a_parent_that_closes_does_to_its_children_what_it_said,
        racing_deliveries_deliver_each_row_once_and_in_order,
        what_nobody_delivers_is_found_by_a_beat,
        a_run_ends_and_its_successor_begins_in_one_write,
        a_fenced_end_has_no_successor,
        a_successor_stays_with_its_writer_while_that_lives,
        a_failed_run_is_retried_after_its_wait,
        a_chain_is_followed_and_a_stranger_left_alone,
        a_thousand_children_are_started_and_answered,
        a_run_that_is_terminated_by_anybody_tells_its_relatives,
        a_message_to_a_run_that_never_was_is_not_found;
    branches:
        a_reset_takes_the_place_of_a_run_that_somebody_owns,
        what_is_pending_at_the_point_is_for_others_to_do_again,
        a_run_that_nobody_owns_is_reset,
        a_closed_run_is_reset_and_keeps_its_end,
        a_branch_that_cannot_be_changes_nothing,
        children_are_settled_before_a_branch_or_it_is_refused,
        an_order_to_end_that_nobody_read_ends_the_old_run_alone,
        racing_resets_make_one_run,
        a_reset_and_the_runs_own_end_are_one_after_the_other,
        no_signal_is_lost_while_a_run_is_reset,
        a_fork_goes_its_own_way_and_leaves_its_source_alone,
        a_request_for_a_branch_is_none_for_a_start;
    dead_letters:
        a_run_whose_task_fails_is_listed_until_it_does_not,
        a_parked_run_is_listed_and_a_retry_brings_it_to_another_worker,
        an_activity_without_attempts_left_is_listed_while_its_run_is_open_or_failed,
        a_failure_that_no_attempt_would_mend_is_no_dead_letter,
        a_write_that_is_fenced_buries_nothing,
        dead_letters_are_filtered_and_come_in_pages;
    operations:
        a_paused_activity_waits_until_it_is_let_go,
        attempts_are_counted_from_a_reset_on,
        an_attempt_that_is_completed_from_outside_is_nobodys,
        a_promise_to_complete_later_has_its_timeouts,
        what_lists_show_is_what_the_workflow_made_of_it,
        who_waits_for_an_update_hears_how_far_it_is,
        a_run_that_closes_answers_its_updates,
        a_question_reaches_the_owner_and_leaves_no_trace,
        a_question_wakes_a_run_that_nobody_owns;
    queries:
        results_say_how_runs_ended,
        a_large_result_is_read_as_it_was_written,
        who_waits_hears_of_the_end,
        lists_are_filtered_and_newest_first,
        random_filters_are_answered_as_the_runs_say,
        a_list_goes_on_where_its_page_ended,
        a_workflow_id_leads_to_its_newest_run,
        a_history_is_read_in_pages_of_whole_transitions,
        a_description_shows_what_a_run_waits_for,
        queue_depths_count_what_waits,
        blobs_are_kept_under_their_digest,
        a_store_that_is_closed_has_written_everything;
}
