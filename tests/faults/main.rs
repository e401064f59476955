//! Faults put into the real binary's way: killed processes, full disks, damaged files, a runc that lies, floods. After each
//! the Pods must be what their manifests say, once, and nothing may be left behind.
//!
//! Every fault that the project's failure model names, and who tries it. Names without a program are of this one; `lifecycle`,
//! `monitor`, `docker`, `notify`, `timing`, `corpus`, `sandbox`, `url_source` and `fresh_host` are test programs beside it.
//!
//! | fault | tried by |
//! |---|---|
//! | a manifest is torn by its writer | `lifecycle` files::a_running_pod_outlives_every_torn_write, a_file_written_slowly_is_read_when_it_is_closed |
//! | a manifest is emptied, broken, or odd | `lifecycle` edits::a_broken_edit_keeps_what_runs…, source::a_manifest_that_turns_into_something_odd_and_back |
//! | a manifest or its directory is another user's | source::a_manifest_of_another_user_is_refused…, a_directory_that_others_may_change… |
//! | the daemon dies | deaths (after everything that is done), kills (at random moments), `lifecycle` adoption, whole |
//! | a new instance before the old one has ended | containers::one_that_ignores_term…, machine::what_cannot_be_killed…; a canary in all of these tests |
//! | two daemons | stored::two_daemons_by_two_names…, two_daemons_on_one_state_directory, `lifecycle` refusals::a_second_daemon… |
//! | the manifest directory cannot be read, is replaced, mounted over, unmounted | source::the_directory_is_replaced…, `lifecycle` files::a_directory_that_cannot_be_read… |
//! | … is missing | `lifecycle` edits::a_manifest_directory_moved_aside… |
//! | a manifest goes and comes back during its Pod's stop | `lifecycle` edits::removed_and_put_back_at_once…, kills |
//! | the daemon is stopped and started | `lifecycle` adoption::term_leaves_pods_running…; by systemd: `fresh_host` |
//! | the host is shut down, loses power | `fresh_host` a_fresh_host_becomes_a_control_plane…: it needs a machine of its own |
//! | the host is suspended; units and disks come late | not here |
//! | state of an earlier boot; numbers of processes that are others' by now | stored::what_another_boot_left…, whole::after_a_reboot…, `monitor` leftovers_of_another_boot_kill_nobody |
//! | runc has lost its state | runc::a_runc_that_has_lost_its_own_state… |
//! | a disk is full | disk |
//! | the host lacks memory | machine::a_daemon_that_is_killed_for_want_of_memory…: the daemon alone; whom else the kernel takes is its choice |
//! | a container lacks memory | `monitor` running_out_of_memory_is_recognised |
//! | runc fails, hangs, lies, is killed | nth (each call once, in eight ways), runc, kills |
//! | docker's command line fails or is killed | `docker` nth |
//! | dockerd hangs, ends, is killed | `docker` dockerd |
//! | docker is wrong about a container, or does not get done with one | `docker` lies |
//! | a name is taken already | stored::runs_whose_files_were_removed…, `docker` victims::foreign_containers… |
//! | runc is missing, cannot be run, talks too much | runc::a_runc_that_is_gone…, a_runc_that_talks… |
//! | a monitor is killed | deaths, kills, `lifecycle` adoption::a_killed_monitor… |
//! | a monitor hangs before it calls runc (a mount on a dead server) | hangs::a_start_that_hangs_on_a_dead_volume…, core::tests::hangs |
//! | the manifest directory is on a server that does not answer | hangs::a_manifest_directory_that_may_hang…: it is warned of; the loop waits as long as the kernel does |
//! | what a run left cannot be cleared away | machine::a_run_that_cannot_be_cleared_away…, core::tests::hangs |
//! | many exits at one time, exits at once | containers::fifty_that_exit_in_one_instant…, one_that_exits_at_once… |
//! | no process, no descriptor to be had | machine::without_a_process…, process::without_a_descriptor… |
//! | no inotify; more events than it keeps; floods of them | process::without_inotify…, machine::more_events…, ten_thousand_events_a_second, source::two_thousand_renames… |
//! | the clock jumps by an hour, forward and back | `fresh_host` clock::a_clock_that_jumps…: it needs a machine of its own |
//! | the daemon is paused | process::stopped_for_ten_seconds_it_catches_up |
//! | the daemon leaks | `timing` for wake-ups; for memory a soak of days is needed |
//! | the daemon's loop hangs | `notify` systemd_hears… (the watchdog's signs of life); its bite: `fresh_host` a_daemon_that_hangs_is_replaced |
//! | an image is missing, damaged, cannot be pulled | `lifecycle` images |
//! | TERM is ignored; KILL does not help | containers::one_that_ignores_term…, machine::what_cannot_be_killed… |
//! | grace periods without bound | `corpus` |
//! | a crash loop | `timing` a_container_that_fails_for_ever_follows_the_back_off_schedule |
//! | two files of one name | `lifecycle` files::of_two_files_with_one_name… |
//! | one port of the host for two Pods | ports::the_second_pod_waits_for_the_port…, core::tests::ports |
//! | a log is flooded, rotated, its directory removed | containers::a_flood_in_one_log…, logs_go_on…, `monitor` a_flood_of_output_is_taken, logs_are_rotated_without_loss |
//! | own state is damaged, removed, the run directory gone | stored, whole::damaged_files…, stored::with_the_whole_run_directory_gone… |
//! | others' containers | `docker` victims::foreign_containers…, seen::another_instance_on_the_same_docker… |
//! | namespaces that are lost again and again | core::tests::lost; once: `docker` victims::a_pause_container_killed… |
//! | standard error blocked or closed; no environment | process::a_reader_of_standard_error…, without_standard_streams_and_environment |
//! | signals in storms | process::a_storm_of_signals_is_weathered |
//! | clients that hang or flood | `notify` slow_clients_delay_nothing, stored::garbage_among_requests… |
//! | /proc hides others | machine::a_proc_that_hides… |
//! | a thousand manifests | source::a_thousand_refused_manifests_and_a_good_one |
//! | hooks and network plugins hang | whole::running, whole::network |
//! | a manifest URL, mirror Pods fail, hang, lie | `url_source`, `lifecycle` mirror |
//! | a kubelet beside, or after | process::a_kubelet_on_the_same_host…, `control_plane` handover |

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../common/mod.rs"]
#[allow(dead_code)] // shared with other test programs, which use other parts
mod common;

mod containers;
mod deaths;
mod disk;
mod hangs;
mod inject;
mod kills;
mod machine;
mod nth;
mod ports;
mod process;
mod runc;
mod scenario;
mod source;
mod stored;
mod whole;
