// Whether other processes take cores from the threads of jobs.
#ifndef CHAINER_LSTM_CROWDING_HPP
#define CHAINER_LSTM_CROWDING_HPP

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>

// It is presumed after a job in which thread 0 slept most of the time, until another thread that
// had lost its core came to a barrier; and after a millisecond of jobs to which a thread came late.
// Then the calling thread runs jobs alone for as long as that took; for twice as long as the last
// time if that was soon before.
template <typename Clock>
class Crowding {
public:
    using Time = typename Clock::time_point;
    using Duration = std::chrono::nanoseconds;

    // whether the calling thread is to run a job alone
    bool is_present() const { return span_ && count(Clock::now()) < until_; }

    // whether a thread came late to the last job
    bool was_late() const { return late_since_ != Time(); }

    // at the end of a job, by its thread 0, with the time for which it has slept
    void end_job(Time begin, bool late, Duration slept) {
        if (!late) late_since_ = {};
        if (!late && slept == Duration(0)) return;  // most often, without reading the clock
        if (late && !was_late()) late_since_ = begin;
        const Time now = Clock::now();
        if (2 * slept > now - begin) return stop(begin, now);
        if (late && begin - late_since_ > long_late) {
            stop(late_since_, now);
            late_since_ = {};
        }
    }

private:
    static constexpr std::chrono::milliseconds long_late{1};
    static constexpr std::int64_t longest = 64000000 /*ns*/, soon = 8 /*spans*/;
    std::atomic<std::int64_t> until_{0}, span_{0};
    Time late_since_;

    static std::int64_t count(Time time) { return Duration(time.time_since_epoch()).count(); }

    // after a loss of time since `begin`
    void stop(Time begin, Time now) {
        const std::int64_t since = count(begin) - until_;
        const std::int64_t least = since < soon * span_ ? 2 * span_ : std::int64_t(0);
        span_ = std::min(std::max(count(now) - count(begin), least), longest);
        until_ = count(now) + span_;
    }
};

#endif
