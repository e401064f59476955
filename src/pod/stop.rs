//! The order in which Pods end when all of them are stopped, so that the one that stops them and the one that waits for it
//! go by the same steps.
//!
//! It is the order of Kubernetes' graceful node shutdown: Pods of a lower priority end before those of a higher one begin
//! to. Those of one priority are stopped together, so that many Pods that do not listen take no longer than one of them. Only
//! the critical ones, which a host runs for one another's sake (etcd, and what writes to it), end one after the other.

use super::Origin;

/// The priority classes that need no API server, and what they stand for.
pub const SYSTEM_CLASSES: [(&str, i32); 2] =
    [("system-node-critical", 2_000_001_000), ("system-cluster-critical", SYSTEM_CRITICAL)];

/// From this priority on a Pod is critical (Kubernetes' `SystemCriticalPriority`).
const SYSTEM_CRITICAL: i32 = 2_000_000_000;

/// The priority of a Pod by its `priorityClassName` and its `priority`: that of a class of the system, or else the number,
/// or else 0.
pub fn priority(class: Option<&str>, number: Option<i32>) -> i32 {
    let of_system = SYSTEM_CLASSES.iter().find(|(name, _)| class == Some(*name));
    of_system.map(|(_, priority)| *priority).or(number).unwrap_or(0)
}

/// Puts Pods, each with its priority and the place of its manifest as `of` tells them, into the steps of a full stop: each
/// step begins when the one before it has ended, and all Pods of a step are stopped together. Within a priority the last
/// manifest comes first.
pub fn steps<T>(mut pods: Vec<T>, of: impl Fn(&T) -> (i32, &Origin)) -> Vec<Vec<T>> {
    pods.sort_by(|a, b| {
        let ((a, a_origin), (b, b_origin)) = (of(a), of(b));
        a.cmp(&b).then_with(|| b_origin.cmp(a_origin))
    });
    let mut steps: Vec<(i32, Vec<T>)> = Vec::new();
    for pod in pods {
        let (priority, _) = of(&pod);
        match steps.last_mut() {
            Some((of_step, step)) if *of_step == priority && priority < SYSTEM_CRITICAL => step.push(pod),
            Some(_) | None => steps.push((priority, vec![pod])),
        }
    }
    steps.into_iter().map(|(_, step)| step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_of_the_system_has_the_last_word_on_priority() {
        assert_eq!(priority(None, None), 0);
        assert_eq!(priority(None, Some(-7)), -7);
        assert_eq!(priority(Some("gold"), None), 0);
        assert_eq!(priority(Some("gold"), Some(1000)), 1000);
        assert_eq!(priority(Some("system-cluster-critical"), None), 2_000_000_000);
        assert_eq!(priority(Some("system-node-critical"), Some(5)), 2_000_001_000);
    }

    #[test]
    fn lower_priorities_end_together_and_critical_pods_one_by_one() {
        let node = 2_000_001_000;
        let pods = [
            ("etcd", node),
            ("kube-apiserver", node),
            ("a", 0),
            ("dns", 2_000_000_000),
            ("proxy", 2_000_000_000),
            ("b", 0),
            ("batch", -1),
            ("c", 1_999_999_999),
            ("d", 1_999_999_999),
        ];
        let pods: Vec<(Origin, i32)> =
            pods.iter().map(|(file, p)| (Origin { path: (*file).into(), document: 1 }, *p)).collect();
        let steps = steps(pods, |(origin, priority)| (*priority, origin));
        let names: Vec<Vec<&str>> =
            steps.iter().map(|s| s.iter().map(|(origin, _)| origin.path.as_str()).collect()).collect();
        assert_eq!(
            names,
            [&["batch"][..], &["b", "a"], &["d", "c"], &["proxy"], &["dns"], &["kube-apiserver"], &["etcd"]]
        );
    }
}
