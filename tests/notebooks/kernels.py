"""What notebooks are told when tests run them, and how a kernel is put back for the next one."""

#: Processes take longer to start than trainings at smoke scale.
SMALL = {"GRADEX_SCALE": "smoke", "OMP_NUM_THREADS": "1", "LOKY_MAX_CPU_COUNT": "1"}
#: Puts a kernel back to where it started, but for modules that are loaded: that takes five seconds.
AFRESH = """import sys
import matplotlib.pyplot
import pandas
matplotlib.pyplot.close("all")
matplotlib.rcdefaults()
pandas.reset_option("display.float_format")
sys.path[:] = [folder for folder in sys.path if folder != ".."]
%reset -f"""
