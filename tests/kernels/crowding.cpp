// Crowding with a clock that stands still between jobs. A line of input is a job: the time since
// the last one, its own, for how long thread 0 sleeps in it, in microseconds, and whether another
// thread comes late. A line of output is what the job is: alone, shared, or shared after a job to
// which a thread came late.
#include "../../chainer_lstm/kernels/native/crowding.hpp"

#include <cstdio>

namespace {

using std::chrono::microseconds;

struct ManualClock {
    using duration = std::chrono::nanoseconds;
    using rep = duration::rep;
    using period = duration::period;
    using time_point = std::chrono::time_point<ManualClock>;

    static inline time_point time{std::chrono::hours(1)};
    static time_point now() { return time; }
};

}  // namespace

int main() {
    Crowding<ManualClock> crowding;
    for (int idle, job, slept, late; std::scanf("%d%d%d%d", &idle, &job, &slept, &late) == 4;) {
        ManualClock::time += microseconds(idle);
        const ManualClock::time_point begin = ManualClock::now();
        const bool alone = crowding.is_present();
        std::puts(alone ? "alone" : crowding.was_late() ? "after a late one" : "shared");
        ManualClock::time += microseconds(job);
        if (!alone) crowding.end_job(begin, late, microseconds(slept));
    }
}
